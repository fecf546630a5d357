-- Which of some layers run or succeed on other hosts than the one that is named with each, and have not just
-- succeeded on that one.
-- $1 host names, $2 layers, $3 seconds that a run must have lasted. Rows: such pairs. Locks: none.
-- Procs and frames by the layer; it stops at the first that does. What succeeded earlier than a few minutes ago
-- says nothing of now. Cuebot writes a frame's host with its cores and GPUs behind slashes.
SELECT asked.host, asked.pk_layer
  FROM unnest($1::text[], $2::text[]) AS asked (host, pk_layer)
 WHERE (EXISTS (
       SELECT 1
         FROM proc
         JOIN host ON host.pk_host = proc.pk_host
         JOIN frame ON frame.pk_frame = proc.pk_frame
        WHERE proc.pk_layer = asked.pk_layer
          AND host.str_name <> asked.host
          AND frame.str_state = 'RUNNING'
          AND frame.ts_started < now() - make_interval(secs => $3))
    OR EXISTS (
       SELECT 1
         FROM frame
        WHERE frame.pk_layer = asked.pk_layer
          AND frame.str_state = 'SUCCEEDED'
          AND frame.ts_stopped > now() - interval '5 minutes'
          AND split_part(frame.str_host::text, '/', 1) <> asked.host))
   AND NOT EXISTS (
       SELECT 1
         FROM frame
        WHERE frame.pk_layer = asked.pk_layer
          AND frame.str_state = 'SUCCEEDED'
          AND frame.ts_stopped > now() - interval '1 minute'
          AND COALESCE(split_part(frame.str_host::text, '/', 1) = asked.host, false))
