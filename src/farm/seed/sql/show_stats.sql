-- $1 shows, $2 jobs of each, $3 frames of each.
INSERT INTO show_stats (
    pk_show, int_frame_insert_count, int_job_insert_count, int_frame_success_count, int_frame_fail_count)
SELECT show, frames, jobs, 0, 0 FROM unnest($1::text[], $2::int8[], $3::int8[]) AS stats (show, jobs, frames)
