-- Those of some hosts that are there, and up as Cuebot has it: one that has not reported for long is DOWN.
-- $1 hosts. One row per host that is up. No locks. By index.
SELECT pk_host::text FROM host_stat WHERE pk_host = ANY ($1::text[]) AND str_state = 'UP'
