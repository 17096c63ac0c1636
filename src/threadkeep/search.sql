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
-- name: search_newest_messages [sqlite]
-- Differs on SQLite: the index of words has the newest first.
select null where false

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

-- One process at a time brings documents up to date.
-- name: hold_index [sqlite]
-- Differs on SQLite: there is one writer.
select 1

-- name: hold_index [postgres]
select revision from revisions where subject = 'search' for no key update

-- In the order of an index, which learns that rows are gone; the table itself would be read over them again and again.
-- name: find_queued [sqlite]
-- Differs on SQLite: rows that are gone leave nothing behind.
select 1 from search_queue limit 1

-- name: find_queued [postgres]
select 1 from search_queue order by thread_id, low limit 1

-- Each with what `delete_queued` knows it by.
-- name: list_queued [sqlite]
select rowid, thread_id, low, high from search_queue order by rowid limit :limit

-- name: list_queued [postgres]
select cast(ctid as text), thread_id, low, high from search_queue order by thread_id, low limit :limit

-- `rows` is a JSON array of what `list_queued` gave.
-- name: delete_queued [sqlite]
delete from search_queue where rowid in (select value from json_each(:rows))

-- name: delete_queued [postgres]
delete from search_queue
where ctid = any(array(select cast(r as tid) from json_array_elements_text(cast(:rows as json)) r))

-- name: list_documents
select position, seq from search_documents
where thread_id = :thread_id and seq > :low and seq <= :high order by seq limit :limit

-- name: list_messages
select t.project_id, m.thread_id, m.seq, m.body
from threads t join messages m on m.thread_id = t.thread_id
where t.thread_id = :thread_id and t.deleted_at is null and m.seq > :low and m.seq <= :high and m.body is not null
order by m.seq limit :limit

-- `ranges` is a JSON array of [thread_id, low, high].
-- name: list_messages_of_ranges [sqlite]
select t.project_id, m.thread_id, m.seq, m.body
from json_each(:ranges) r cross join threads t cross join messages m
where t.thread_id = r.value ->> 0 and t.deleted_at is null
    and m.thread_id = t.thread_id and m.seq > r.value ->> 1 and m.seq <= r.value ->> 2 and m.body is not null

-- name: list_messages_of_ranges [postgres]
-- Range by range: a plan for a join may be from when the tables were small, and read all of them each time.
select t.project_id, m.thread_id, m.seq, m.body
from json_array_elements(cast(:ranges as json)) r
cross join lateral (
    select project_id from threads where thread_id = r ->> 0 and deleted_at is null limit 1
) t
cross join lateral (
    select thread_id, seq, body from messages
    where thread_id = r ->> 0 and seq > cast(r ->> 1 as bigint) and seq <= cast(r ->> 2 as bigint)
        and body is not null
    order by seq limit cast(r ->> 2 as bigint) - cast(r ->> 1 as bigint)
) m

-- name: list_documents_of_ranges [sqlite]
select d.position, d.thread_id, d.seq
from json_each(:ranges) r cross join search_documents d
where d.thread_id = r.value ->> 0 and d.seq > r.value ->> 1 and d.seq <= r.value ->> 2

-- name: list_documents_of_ranges [postgres]
-- Range by range, as above.
select d.position, d.thread_id, d.seq
from json_array_elements(cast(:ranges as json)) r
cross join lateral (
    select position, thread_id, seq from search_documents
    where thread_id = r ->> 0 and seq > cast(r ->> 1 as bigint) and seq <= cast(r ->> 2 as bigint)
    order by seq limit cast(r ->> 2 as bigint) - cast(r ->> 1 as bigint)
) d

-- The highest position in each second, for those that have one; `seconds` is a JSON array of the lowest possible ones.
-- name: list_ends [sqlite]
select s.value, (select max(position) from search_documents where position >= s.value and position < s.value + :size)
from json_each(:seconds) s

-- name: list_ends [postgres]
select cast(s as bigint), (
    select max(position) from search_documents
    where position >= cast(s as bigint) and position < cast(s as bigint) + cast(:size as bigint)
)
from json_array_elements_text(cast(:seconds as json)) s

-- name: insert_document [sqlite]
insert into search_documents (position, thread_id, seq, words) values (:position, :thread_id, :seq, :words)

-- name: insert_document [postgres]
insert into search_documents (thread_id, seq, project_id, position, words)
values (:thread_id, :seq, :project_id, :position, array_to_tsvector(string_to_array(:words, ' ')))

-- name: insert_words [sqlite]
insert into search_words (rowid, words) values (:position, :words)

-- name: delete_words [sqlite]
-- It reads in the document which words they are, so it comes before that is deleted.
delete from search_words where rowid = :position

-- name: delete_document [sqlite]
delete from search_documents where position = :position

-- name: delete_document [postgres]
delete from search_documents where thread_id = :thread_id and seq = :seq

-- Messages that were added since one was seen. Differs on SQLite: new rows have the highest numbers, so adding a message
-- costs nothing more.
-- name: list_added [sqlite]
select t.project_id, m.thread_id, m.seq, m.body, m.rowid, m.message_id
from messages m left join threads t on t.thread_id = m.thread_id and t.deleted_at is null
where m.rowid > :after order by m.rowid limit :limit

-- name: list_added [postgres]
select null where false

-- name: find_added [sqlite]
select 1 from messages where rowid > :after limit 1

-- name: find_added [postgres]
select null where false

-- Whether the message that was seen last is still the row of that number.
-- name: find_seen [sqlite]
select 1 from messages where rowid = :after and thread_id = :thread_id and message_id = :message_id

-- name: find_seen [postgres]
select 1

-- The newest message that has a document; all before it were seen.
-- name: find_last_seen [sqlite]
select m.rowid, m.thread_id, m.message_id from messages m
where exists (select 1 from search_documents d where d.thread_id = m.thread_id and d.seq = m.seq)
order by m.rowid desc limit 1

-- name: find_last_seen [postgres]
select null where false
