-- $1 keys, $2 shows, $3 allocations, $4 sizes and $5 bursts in centicores.
INSERT INTO subscription (pk_subscription, pk_show, pk_alloc, int_size, int_burst)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::int8[], $5::int8[])
