-- The floor of booking, second half: a proc for every frame that was started.
INSERT INTO proc (pk_proc, pk_frame, pk_layer, pk_job, pk_show, pk_host, int_cores_reserved, int_mem_reserved,
    int_mem_pre_reserved, int_mem_used, int_gpus_reserved, int_gpu_mem_reserved, int_gpu_mem_pre_reserved,
    int_gpu_mem_used, b_local)
SELECT gen_random_uuid()::text, frame.pk_frame, frame.pk_layer, frame.pk_job, job.pk_show, host.pk_host, 100, 1048576,
    1048576, 262144, 0, 0, 0, 0, false
FROM frame
JOIN job ON job.pk_job = frame.pk_job
JOIN host ON host.str_name = frame.str_host
WHERE frame.str_state = 'RUNNING'
