-- name: add_usage
insert into usage (project_id, day, key_id, assistant_id, slot, runs, prompt_tokens, cached_tokens, completion_tokens)
values (:project_id, :day, :key_id, :assistant_id, :slot, 1, :prompt_tokens, :cached_tokens, :completion_tokens)
on conflict (project_id, day, key_id, assistant_id, slot) do update set
    runs = usage.runs + 1,
    prompt_tokens = usage.prompt_tokens + excluded.prompt_tokens,
    cached_tokens = usage.cached_tokens + excluded.cached_tokens,
    completion_tokens = usage.completion_tokens + excluded.completion_tokens

-- name: list_usage
select u.day, p.name, u.key_id, u.assistant_id, cast(sum(u.runs) as bigint), cast(sum(u.prompt_tokens) as bigint),
    cast(sum(u.cached_tokens) as bigint), cast(sum(u.completion_tokens) as bigint)
from usage u join projects p on p.project_id = u.project_id
where u.day >= :first_day and u.day <= :last_day
group by u.day, p.name, u.key_id, u.assistant_id order by u.day, p.name, u.key_id, u.assistant_id

-- name: sum_tokens_of_project
select cast(coalesce(sum(prompt_tokens + completion_tokens), 0) as bigint) from usage
where project_id = :project_id and day = :day

-- name: sum_tokens_of_key
select cast(coalesce(sum(prompt_tokens + completion_tokens), 0) as bigint) from usage
where project_id = :project_id and day = :day and key_id = :key_id
