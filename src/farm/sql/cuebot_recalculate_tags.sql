-- Writes a host's tags into its own row, as dispatching reads them there.
-- $1 host.
SELECT recalculate_tags($1)
