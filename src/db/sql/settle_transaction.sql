-- Whether a transaction is still open: a server that lost its client may not have noticed yet, and
-- until it has, rows that are not there may still come.
-- $1 the id that the transaction saw as its own. One row; NULL when it is too old to tell.
SELECT txid_status($1) AS status
