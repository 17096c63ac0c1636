-- name: list_threads
select thread_id, created_at, body,
    exists (select 1 from message_versions v where v.thread_id = t.thread_id),
    exists (select 1 from runs r where r.thread_id = t.thread_id)
from threads t
where project_id = :project_id and (created_at, thread_id) > (:at, :id) and deleted_at is null
order by created_at, thread_id limit :limit

-- Of each kind, behind a position: at most `limit` rows, and none after the one with which they are `bytes` long. Where
-- that is shows in their sizes, so what does not fit is not read.
-- name: list_messages
select seq, 0, octet_length(body), body from messages
where thread_id = :thread_id and seq > :low and body is not null and seq <= (
    select max(seq) from (
        select seq, sum(size) over (order by seq) - size as ahead from (
            select seq, octet_length(body) as size from messages
            where thread_id = :thread_id and seq > :low and body is not null order by seq limit :limit
        ) sized
    ) measured where ahead < :bytes
) order by seq

-- Of messages up to `high`.
-- name: list_versions
select v.message_id, v.seq, measured.size, v.body from (
    select message_id, seq, size, sum(size) over (order by message_id, seq) - size as ahead from (
        select message_id, seq, octet_length(body) as size from message_versions o
        where thread_id = :thread_id and (message_id, seq) > (:low, :low_within) and exists (
            select 1 from messages m where m.thread_id = o.thread_id and m.message_id = o.message_id and m.seq <= :high
        ) order by message_id, seq limit :limit
    ) sized
) measured join message_versions v
    on v.thread_id = :thread_id and v.message_id = measured.message_id and v.seq = measured.seq
where measured.ahead < :bytes order by v.message_id, v.seq

-- name: list_runs
select seq, 0, octet_length(body), body from runs
where thread_id = :thread_id and seq > :low and seq <= (
    select max(seq) from (
        select seq, sum(size) over (order by seq) - size as ahead from (
            select seq, octet_length(body) as size from runs
            where thread_id = :thread_id and seq > :low order by seq limit :limit
        ) sized
    ) measured where ahead < :bytes
) order by seq

-- Of runs up to `high`.
-- name: list_steps
select measured.run, s.seq, measured.size, s.body from (
    select run_id, run, seq, size, sum(size) over (order by run, seq) - size as ahead from (
        select r.run_id, r.seq as run, o.seq, octet_length(o.body) as size
        from runs r join run_steps o on o.thread_id = r.thread_id and o.run_id = r.run_id
        where r.thread_id = :thread_id and r.seq >= :low and r.seq <= :high and (r.seq, o.seq) > (:low, :low_within)
        order by r.seq, o.seq limit :limit
    ) sized
) measured join run_steps s on s.thread_id = :thread_id and s.run_id = measured.run_id and s.seq = measured.seq
where measured.ahead < :bytes order by measured.run, s.seq
