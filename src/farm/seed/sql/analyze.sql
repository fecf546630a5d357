-- Statistics for the planner, which would otherwise take a full farm for an empty one.
ANALYZE alloc, facility, dept, show, subscription, folder, folder_resource, point, host, host_stat, host_tag,
    job, job_stat, job_resource, layer, layer_stat, layer_resource, layer_limit, limit_record, frame
