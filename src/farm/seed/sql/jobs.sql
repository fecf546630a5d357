-- Jobs in state PENDING; a trigger makes their companions.
-- $1 facility, then per job: $2 keys, $3 folders, $4 shows, $5 departments, $6 names, $7 show names,
-- $8 shots, $9 users, $10 uids, $11 log folders, $12 operating systems, $13 paused, $14 automatic
-- booking, $15 retries, $16 frames, $17 layers.
INSERT INTO job (
    pk_facility, pk_job, pk_folder, pk_show, pk_dept, str_name, str_visible_name, str_show, str_shot, str_user,
    int_uid, str_log_dir, str_os, b_paused, b_auto_book, int_max_retries, int_frame_count, int_layer_count, str_state)
SELECT $1, key, folder, show, dept, name, name, show_name, shot, "user", uid, log_dir, os, paused, auto_book, retries,
    frames, layers, 'PENDING'
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
        $10::int8[], $11::text[], $12::text[], $13::bool[], $14::bool[], $15::int2[], $16::int4[], $17::int4[])
    AS job (key, folder, show, dept, name, show_name, shot, "user", uid, log_dir, os, paused, auto_book, retries,
        frames, layers)
