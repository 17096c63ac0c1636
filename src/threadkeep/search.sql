-- name: search_messages [sqlite]
select d.position, t.body, m.body
from search_words w cross join search_documents d cross join messages m cross join threads t
where w.search_words match :match and w.rowid < :before
    and d.position = w.rowid
    and m.thread_id = d.thread_id and m.seq = d.seq and m.body is not null
    and t.thread_id = d.thread_id and t.project_id = :project_id and t.deleted_at is null
order by w.rowid desc limit :limit

-- name: search_messages [postgres]
select d.position, t.body, m.body
from search_documents d
join messages m on m.thread_id = d.thread_id and m.seq = d.seq and m.body is not null
join threads t on t.thread_id = d.thread_id and t.project_id = d.project_id and t.deleted_at is null
where d.words @@ cast(cast(:tsquery as text) as tsquery) and d.project_id = :project_id and d.position < :before
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

-- name: find_queued
select 1 from search_queue limit 1

-- Each finds its rows by where they are: the queue may be long.
-- name: take_queued [sqlite]
delete from search_queue where rowid in (select rowid from search_queue limit :limit) returning thread_id, low, high

-- name: take_queued [postgres]
-- In the order of an index, which learns that rows are gone; the table itself would be read over them again and again.
delete from search_queue
where ctid = any(array(select ctid from search_queue order by thread_id, low limit :limit))
returning thread_id, low, high

-- name: put_back
insert into search_queue (thread_id, low, high) values (:thread_id, :low, :high)

-- name: list_documents
select position, seq from search_documents
where thread_id = :thread_id and seq > :low and seq <= :high order by seq limit :limit

-- name: list_messages
select t.project_id, m.thread_id, m.seq, m.body
from threads t join messages m on m.thread_id = t.thread_id
where t.thread_id = :thread_id and t.deleted_at is null and m.seq > :low and m.seq <= :high and m.body is not null
order by m.seq limit :limit

-- `ranges` is a JSON array of [thread_id, low, high], of a single message each.
-- name: list_single_messages [sqlite]
select t.project_id, m.thread_id, m.seq, m.body
from json_each(:ranges) r cross join threads t cross join messages m
where t.thread_id = r.value ->> 0 and t.deleted_at is null
    and m.thread_id = t.thread_id and m.seq = r.value ->> 2 and m.body is not null

-- name: list_single_messages [postgres]
select t.project_id, m.thread_id, m.seq, m.body
from json_array_elements(cast(:ranges as json)) r
join threads t on t.thread_id = r ->> 0 and t.deleted_at is null
join messages m on m.thread_id = t.thread_id and m.seq = cast(r ->> 2 as bigint) and m.body is not null

-- name: list_single_documents [sqlite]
select d.position, d.thread_id, d.seq
from json_each(:ranges) r cross join search_documents d
where d.thread_id = r.value ->> 0 and d.seq = r.value ->> 2

-- name: list_single_documents [postgres]
select d.position, d.thread_id, d.seq
from json_array_elements(cast(:ranges as json)) r
join search_documents d on d.thread_id = r ->> 0 and d.seq = cast(r ->> 2 as bigint)

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
