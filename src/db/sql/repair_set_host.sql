-- Second step of repairing a host's idle amounts.
-- Must be a statement of its own after the lock, in READ COMMITTED: summing first and locking then
-- would lose a booking that commits in between.
-- What the row says is idle and procs hold is taken from it; on a host that holds more than it has,
-- nothing is idle. What it says is taken and no proc holds is given back by no more than is allowed, nor
-- than is left without what procs held that are gone: whoever deleted those may still be about to give
-- it back. A host that renders for its owner is left as it is.
-- $1 the host. $2 centicores, $3 memory KiB, $4 GPUs, $5 GPU memory KiB to give back at most; NULL is no
-- bound. $6 to $9 the same of procs that are known to be gone. $10 procs that were there when that was
-- found, $11 to $14 what they held: those of them that are gone by now are added to it.
-- Returns what is taken now and what procs hold. Locks: none new.
WITH counted AS MATERIALIZED (
    SELECT pk_proc, int_cores_reserved AS cores, int_mem_reserved AS memory, int_gpus_reserved AS gpus,
        int_gpu_mem_reserved AS gpu_memory, b_local
    FROM proc
    WHERE pk_host = $1
),
gone AS (
    SELECT coalesce(sum(seen.cores), 0)::int8 AS cores, coalesce(sum(seen.memory), 0)::int8 AS memory,
        coalesce(sum(seen.gpus), 0)::int8 AS gpus, coalesce(sum(seen.gpu_memory), 0)::int8 AS gpu_memory
    FROM unnest($10::text[], $11::int8[], $12::int8[], $13::int8[], $14::int8[])
        AS seen (proc, cores, memory, gpus, gpu_memory)
    WHERE NOT EXISTS (SELECT FROM counted WHERE counted.pk_proc = seen.proc)
),
held AS (
    SELECT coalesce(sum(cores), 0)::int8 AS cores, coalesce(sum(memory), 0)::int8 AS memory,
        coalesce(sum(gpus), 0)::int8 AS gpus, coalesce(sum(gpu_memory), 0)::int8 AS gpu_memory,
        coalesce(bool_or(b_local), false) AS has_local
    FROM counted
),
judged AS (
    SELECT own.pk_host, held.has_local,
        own.int_cores - own.int_cores_idle AS cores, least(held.cores, own.int_cores) AS held_cores,
        own.int_mem - own.int_mem_idle AS memory, least(held.memory, own.int_mem) AS held_memory,
        own.int_gpus - own.int_gpus_idle AS gpus, least(held.gpus, own.int_gpus) AS held_gpus,
        own.int_gpu_mem - own.int_gpu_mem_idle AS gpu_memory, least(held.gpu_memory, own.int_gpu_mem) AS held_gpu_memory
    FROM host own, held
    WHERE own.pk_host = $1
)
UPDATE host h
SET
    int_cores_idle = h.int_cores - greatest(judged.held_cores, judged.cores - greatest(
        0, least($2::int8, judged.cores - judged.held_cores - $6::int8 - gone.cores))),
    int_mem_idle = h.int_mem - greatest(judged.held_memory, judged.memory - greatest(
        0, least($3::int8, judged.memory - judged.held_memory - $7::int8 - gone.memory))),
    int_gpus_idle = h.int_gpus - greatest(judged.held_gpus, judged.gpus - greatest(
        0, least($4::int8, judged.gpus - judged.held_gpus - $8::int8 - gone.gpus))),
    int_gpu_mem_idle = h.int_gpu_mem - greatest(judged.held_gpu_memory, judged.gpu_memory - greatest(
        0, least($5::int8, judged.gpu_memory - judged.held_gpu_memory - $9::int8 - gone.gpu_memory)))
FROM judged, gone
WHERE h.pk_host = judged.pk_host
    AND NOT judged.has_local
    AND NOT EXISTS (SELECT FROM host_local hl WHERE hl.pk_host = h.pk_host)
RETURNING (h.int_cores - h.int_cores_idle)::int8 AS cores, judged.held_cores::int8,
    (h.int_mem - h.int_mem_idle)::int8 AS memory, judged.held_memory::int8,
    (h.int_gpus - h.int_gpus_idle)::int8 AS gpus, judged.held_gpus::int8,
    (h.int_gpu_mem - h.int_gpu_mem_idle)::int8 AS gpu_memory, judged.held_gpu_memory::int8
