-- Usage of departments in shows. No trigger makes these; without them Cuebot books nothing.
-- $1 keys, $2 shows, $3 departments.
INSERT INTO point (pk_point, pk_show, pk_dept) SELECT * FROM unnest($1::text[], $2::text[], $3::text[])
