-- Bookings of shows that no scheduler like this one made, by show: ours have keys of UUID version 8.
-- Local dispatch is the artist's own.
-- $1 shows, $2 after this time, $3 up to this one. One row per show with any. No locks.
-- Reads the procs of these shows by index.
SELECT p.pk_show, min(s.str_name) AS show_name, count(*) AS bookings
FROM proc p
JOIN show s ON s.pk_show = p.pk_show
WHERE p.pk_show = ANY ($1::text[])
    AND NOT p.b_local
    AND p.ts_booked > $2::timestamptz
    AND p.ts_booked <= $3::timestamptz
    AND substr(p.pk_proc, 15, 1) <> '8'
GROUP BY p.pk_show
