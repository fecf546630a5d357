-- Waiting frames of whole layers, made by the server: a frame is its layer, a number and a position.
-- Keys follow from the layer's.
-- $1 layers, $2 their jobs, $3 names, $4 dispatch orders, $5 frames, $6 first numbers, $7 chunk sizes.
-- Names are the number padded to four places and the layer's name, as Cuebot makes them; a minus
-- counts as a place.
INSERT INTO frame (
    pk_frame, pk_layer, pk_job, str_name, str_state, int_number, int_dispatch_order, int_layer_order, ts_updated)
SELECT md5(layer.key || ' ' || at)::uuid::text, layer.key, layer.job,
    CASE WHEN numbered.number < 0 THEN '-' || lpad(abs(numbered.number)::text, greatest(3, length(abs(numbered.number)::text)), '0')
        ELSE lpad(numbered.number::text, greatest(4, length(numbered.number::text)), '0') END || '-' || layer.name,
    'WAITING', numbered.number, at, layer.dispatch_order, current_timestamp
FROM unnest($1::text[], $2::text[], $3::text[], $4::int4[], $5::int4[], $6::int4[], $7::int4[])
    AS layer (key, job, name, dispatch_order, frames, first, chunk_size)
CROSS JOIN LATERAL generate_series(0, layer.frames - 1) AS at
CROSS JOIN LATERAL (SELECT layer.first::int8 + at::int8 * layer.chunk_size AS number) AS numbered
