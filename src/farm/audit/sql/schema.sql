-- What of the schema changes the rules: typed limits, and whether history is written at once (not
-- queued, not switched off). One row. No locks.
SELECT EXISTS (
        SELECT FROM pg_catalog.pg_attribute
        WHERE attrelid = to_regclass('limit_record') AND attname = 'str_type' AND NOT attisdropped) AS typed_limits,
    to_regclass('frame_history_queue') IS NULL
        AND NOT EXISTS (SELECT FROM config WHERE str_key = 'DISABLE_HISTORY') AS open_history
