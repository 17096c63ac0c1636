-- One process at a time brings documents up to date. Differs on SQLite: there is one writer.
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

-- name: count_range
select (
    select count(*) from (
        select 1 from search_documents where thread_id = :thread_id and seq > :low and seq <= :high limit :limit
    ) as documents
) + (
    select count(*) from (
        select 1 from messages
        where thread_id = :thread_id and seq > :low and seq <= :high and body is not null limit :limit
    ) as others
)

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

-- Differs on SQLite: what is removed from the index of words is at first only marked there. The number tells that there
-- is such a mark, and whether another one has come.
-- name: note_removed_words [sqlite]
update revisions set revision = revision + 1 where subject = 'removed_words'

-- name: find_removed_words [sqlite]
select revision from revisions where subject = 'removed_words' and revision > 0

-- name: forget_removed_words [sqlite]
update revisions set revision = 0 where subject = 'removed_words' and revision = :revision

-- name: rewrite_words [sqlite]
insert into search_words (search_words, rank) values ('merge', :pages)

-- name: count_changes [sqlite]
select total_changes()

-- name: delete_document [sqlite]
delete from search_documents where position = :position

-- name: delete_document [postgres]
delete from search_documents where thread_id = :thread_id and seq = :seq

-- Messages that were added since one was seen. Differs on SQLite: new rows have the highest numbers, so adding a message
-- costs nothing more; PostgreSQL has them in the queue.
-- name: list_added [sqlite]
select t.project_id, m.thread_id, m.seq, m.body, m.rowid, m.message_id
from messages m left join threads t on t.thread_id = m.thread_id and t.deleted_at is null
where m.rowid > :after order by m.rowid limit :limit

-- name: find_added [sqlite]
select 1 from messages where rowid > :after limit 1

-- Whether the message that was seen last is still the row of that number.
-- name: find_seen [sqlite]
select 1 from messages where rowid = :after and thread_id = :thread_id and message_id = :message_id

-- The newest message that has a document; all before it were seen.
-- name: find_last_seen [sqlite]
select m.rowid, m.thread_id, m.message_id from messages m
where exists (select 1 from search_documents d where d.thread_id = m.thread_id and d.seq = m.seq)
order by m.rowid desc limit 1
