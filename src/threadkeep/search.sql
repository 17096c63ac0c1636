-- name: search_messages [sqlite]
select d.position, t.body, m.body
from search_words w cross join search_documents d cross join messages m cross join threads t
where w.search_words match :match and w.rowid < :before
    and d.position = w.rowid
    and m.thread_id = d.thread_id and m.seq = d.seq and m.body is not null
    and t.thread_id = d.thread_id and t.project_id = :project_id and t.deleted_at is null
order by w.rowid desc limit :limit

-- name: search_messages [postgres]
-- The documents come first, sorted: otherwise all of the project's are walked over, newest first, for a rare word, whose
-- number is guessed far too high. Thread and message are looked up for one after another, for the same reason.
select d.position, t.body, m.body
from (
    select position, thread_id, seq, project_id from search_documents
    where words @@ cast(cast(:tsquery as text) as tsquery) and project_id = :project_id and position < :before
    order by position desc offset 0
) d
cross join lateral (
    select body from messages where thread_id = d.thread_id and seq = d.seq and body is not null limit 1
) m
cross join lateral (
    select body from threads
    where thread_id = d.thread_id and project_id = d.project_id and deleted_at is null limit 1
) t
order by d.position desc limit :limit

-- The same among the newest messages alone: that is quick for words that many have, and `search_messages` for others.
-- Differs on SQLite: the index of words has the newest first.
-- name: search_newest_messages [postgres]
select d.position, t.body, m.body
from (
    select position, thread_id, seq, project_id, words from search_documents
    where project_id = :project_id and position < :before order by position desc limit :newest
) d
cross join lateral (
    select body from messages where thread_id = d.thread_id and seq = d.seq and body is not null limit 1
) m
cross join lateral (
    select body from threads
    where thread_id = d.thread_id and project_id = d.project_id and deleted_at is null limit 1
) t
where d.words @@ cast(cast(:tsquery as text) as tsquery)
order by d.position desc limit :limit

-- A plan that does not know the words cannot tell a rare one from a common one.
-- name: plan_for_the_words [sqlite]
-- Differs on SQLite: there is one way to go.
select 1

-- name: plan_for_the_words [postgres]
select set_config('plan_cache_mode', 'force_custom_plan', true)
