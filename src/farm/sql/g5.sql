-- October 2026: the history of frames is queued and written later, and the next frames of a layer have
-- an index.

-- One row per start (S), end (E) or discarded run (X); the fields of the other kinds are null.
CREATE TABLE frame_history_queue (
    id bigserial CONSTRAINT c_frame_history_queue_pk PRIMARY KEY,
    str_event varchar(1) NOT NULL CONSTRAINT c_frame_history_queue_str_event CHECK (str_event IN ('S', 'E', 'X')),
    pk_frame varchar(36) NOT NULL, int_ts int NOT NULL,
    pk_layer varchar(36), pk_job varchar(36), str_name varchar(256), str_host varchar(256), pk_alloc varchar(36),
    int_cores int, int_mem_reserved bigint, int_gpus int, int_gpu_mem_reserved bigint,
    int_mem_max_used bigint, int_gpu_mem_max_used bigint, int_exit_status bigint, int_checkpoint_count int
);

CREATE OR REPLACE FUNCTION trigger__frame_history_open() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT keeps_history() THEN
        RETURN NULL;
    END IF;
    IF OLD.str_state = 'RUNNING' AND NEW.int_exit_status = 299 THEN
        INSERT INTO frame_history_queue (str_event, pk_frame, int_ts)
        VALUES ('X', NEW.pk_frame, epoch(current_timestamp));
    ELSIF OLD.str_state = 'RUNNING' THEN
        INSERT INTO frame_history_queue (str_event, pk_frame, int_ts, int_mem_max_used, int_gpu_mem_max_used,
                                         int_exit_status, int_checkpoint_count)
        VALUES ('E', NEW.pk_frame, epoch(current_timestamp), NEW.int_mem_max_used, NEW.int_gpu_mem_max_used,
                NEW.int_exit_status, (NEW.str_state = 'CHECKPOINT')::int);
    ELSIF NEW.str_state = 'RUNNING' THEN
        INSERT INTO frame_history_queue (str_event, pk_frame, int_ts, pk_layer, pk_job, str_name, str_host, pk_alloc,
                                         int_cores, int_mem_reserved, int_gpus, int_gpu_mem_reserved)
        VALUES ('S', NEW.pk_frame, epoch(current_timestamp), NEW.pk_layer, NEW.pk_job, NEW.str_name, NEW.str_host,
                (SELECT pk_alloc FROM host WHERE str_name = NEW.str_host),
                NEW.int_cores, NEW.int_mem_reserved, NEW.int_gpus, NEW.int_gpu_mem_reserved);
    END IF;
    RETURN NULL;
END
$$;

-- Writes one event into frame_history. A start whose job or layer has no history row is dropped.
CREATE FUNCTION frame_history_apply(event frame_history_queue) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    CASE event.str_event
    WHEN 'S' THEN
        INSERT INTO frame_history (pk_frame, pk_layer, pk_job, str_name, str_state, int_cores, int_mem_reserved,
                                   int_gpus, int_gpu_mem_reserved, str_host, int_ts_started, pk_alloc)
        SELECT event.pk_frame, event.pk_layer, event.pk_job, event.str_name, 'RUNNING', event.int_cores,
               event.int_mem_reserved, event.int_gpus, event.int_gpu_mem_reserved, left(event.str_host, 64),
               event.int_ts, (SELECT pk_alloc FROM alloc WHERE pk_alloc = event.pk_alloc)
         WHERE EXISTS (SELECT FROM layer_history WHERE pk_layer = event.pk_layer)
           AND EXISTS (SELECT FROM job_history WHERE pk_job = event.pk_job);
    WHEN 'E' THEN
        UPDATE frame_history
           SET int_mem_max_used = event.int_mem_max_used, int_gpu_mem_max_used = event.int_gpu_mem_max_used,
               int_exit_status = event.int_exit_status, int_ts_stopped = event.int_ts,
               int_checkpoint_count = event.int_checkpoint_count
         WHERE pk_frame = event.pk_frame AND int_ts_stopped = 0;
    WHEN 'X' THEN
        DELETE FROM frame_history WHERE pk_frame = event.pk_frame AND int_ts_stopped = 0;
    END CASE;
END
$$;

-- Takes up to `events` of the oldest events into frame_history and returns how many it took. One drains
-- at a time: with `wait` the others queue up, without it they take nothing. With `safe` an event that
-- cannot be written is dropped with a warning instead of failing all.
CREATE FUNCTION frame_history_drain(events int, wait bool DEFAULT false, safe bool DEFAULT false) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    event frame_history_queue;
    taken int := 0;
BEGIN
    IF wait THEN
        PERFORM pg_advisory_xact_lock(19829062061618036);
    ELSIF NOT pg_try_advisory_xact_lock(19829062061618036) THEN
        RETURN 0;
    END IF;
    FOR event IN SELECT * FROM frame_history_queue ORDER BY id LIMIT events LOOP
        IF safe THEN
            BEGIN
                PERFORM frame_history_apply(event);
            EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
                RAISE WARNING 'dropped an event of frame %: %', event.pk_frame, sqlerrm;
            END;
        ELSE
            PERFORM frame_history_apply(event);
        END IF;
        DELETE FROM frame_history_queue WHERE id = event.id;
        taken := taken + 1;
    END LOOP;
    RETURN taken;
END
$$;

CREATE INDEX i_frame_layer_dispatch_waiting ON frame (pk_layer, int_dispatch_order, int_layer_order)
    WHERE str_state = 'WAITING';
