-- $1 key, $2 name.
INSERT INTO facility (pk_facility, str_name) VALUES ($1, $2)
