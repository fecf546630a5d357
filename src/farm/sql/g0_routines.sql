-- Cuebot's functions and the one view that a scheduler or a farm uses.

-- How far above its right a subscription or job is; the lowest goes first.
CREATE FUNCTION tier(cores numeric, minimum numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN minimum = 0 THEN cores / 100 + 1
                WHEN cores = 0 THEN -minimum
                ELSE cores / minimum END
$$;

-- As tier, but everything that reached its minimum is equal.
CREATE FUNCTION soft_tier(cores numeric, minimum numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN cores IS NULL OR minimum IS NULL THEN 0
                WHEN minimum = 0 OR cores >= minimum THEN 1
                WHEN cores = 0 THEN -minimum
                ELSE cores / minimum END
$$;

-- Whole seconds since 1970. Fails with "integer out of range" for times after 2038-01-19, as Cuebot's.
CREATE FUNCTION epoch(t timestamptz) RETURNS numeric LANGUAGE sql STABLE AS $$
    SELECT extract(epoch FROM t)::int::numeric
$$;

-- Months and years count nothing, as in Cuebot's.
CREATE FUNCTION interval_to_seconds(i interval) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$
    SELECT extract(day FROM i) * 86400 + extract(hour FROM i) * 3600 + extract(minute FROM i) * 60
           + extract(second FROM i)
$$;

-- Fails with "value too long" when a host's tags need more than 128 characters.
CREATE FUNCTION recalculate_tags(host_key varchar) RETURNS void LANGUAGE sql AS $$
    UPDATE host
       SET str_tags = (SELECT coalesce(string_agg(str_tag, ' ' ORDER BY str_tag_type, str_tag), '')
                         FROM host_tag
                        WHERE host_tag.pk_host = host_key)
     WHERE pk_host = host_key
$$;

-- Sets the use of every subscription to the sum over its procs. The burst is moved along and back, so
-- that a use above the burst can be stored.
CREATE FUNCTION recalculate_subs() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    used record;
BEGIN
    UPDATE subscription SET int_cores = 0, int_gpus = 0;
    FOR used IN
        SELECT pk_subscription, int_burst, sum(int_cores_reserved) AS cores, sum(int_gpus_reserved) AS gpus
          FROM proc JOIN host USING (pk_host) JOIN subscription USING (pk_show, pk_alloc)
         WHERE NOT b_local
         GROUP BY pk_subscription, int_burst
    LOOP
        UPDATE subscription SET int_cores = used.cores, int_gpus = used.gpus, int_burst = used.cores
         WHERE pk_subscription = used.pk_subscription;
        UPDATE subscription SET int_burst = used.int_burst WHERE pk_subscription = used.pk_subscription;
    END LOOP;
END
$$;

-- Shows that have a job with waiting frames and room for a core. A negative waiting count counts too.
CREATE VIEW vs_waiting AS
SELECT pk_show
  FROM job JOIN job_stat USING (pk_job) JOIN job_resource USING (pk_job)
 WHERE str_state = 'PENDING'
   AND NOT b_paused
   AND job_resource.int_max_cores - int_cores >= 100
   AND int_waiting_count <> 0
 GROUP BY pk_show;
