-- Shared by several scripts: waiting jobs, running jobs and their order. The rules are those of
-- core/fair_queue.py.
-- KEYS  1 waiting, a sorted set: 'queue upstream user generation' by turn (start tag); ' topic' follows
--         where the answer goes to one
--       2 counts, a hash:
--         turn                  turn of the job that became due last
--         t <user>              turn of the user's newest waiting job
--         w <user>, W <upstream>  number of waiting jobs
--         r <user>, R <upstream>  number of running jobs
--         j <generation>        of every job: '' while it waits, then '<queue> <id of the entry>'
--         u <generation>        in how many checks in a row no worker attended to the job
--         c                     max running jobs of a user
--         C <upstream>          max running jobs of the upstream, if it has a limit
-- The stream of due jobs has the name of the waiting jobs: '...:waiting' -> '...:due:<queue>'. A queue
-- '<queue>@<version>' has jobs that only workers of a version continue; the hash '...:versions' counts them.
local MAX_EXAMINED = 1000

local function count(field, more)
  if redis.call('HINCRBY', KEYS[2], field, more) <= 0 then
    redis.call('HDEL', KEYS[2], field)
    return true
  end
end

local function due_stream(queue)
  return string.gsub(KEYS[1], 'waiting$', 'due:') .. queue
end

-- Counts a job that enters (1) or leaves (-1) the queue of a stream, if only workers of a version read it.
local function count_version(stream, more)
  local queue = string.match(stream, '}:jobs:due:(.*@.*)$')
  local versions = string.gsub(KEYS[1], 'waiting$', 'versions')
  if queue and redis.call('HINCRBY', versions, queue, more) <= 0 then
    redis.call('HDEL', versions, queue)
  end
end

local function build_member(queue, upstream, user, generation, topic)
  return queue .. ' ' .. upstream .. ' ' .. user .. ' ' .. generation .. (topic ~= '' and ' ' .. topic or '')
end

local function parse(member)
  return string.match(member, '^(%S+) (%S+) (%S+) (%S+) ?(%S*)$')
end

local function count_not_waiting(user, upstream)
  if count('w ' .. user, -1) then
    redis.call('HDEL', KEYS[2], 't ' .. user)
  end
  count('W ' .. upstream, -1)
end

-- Returns the stream and the id of a due job; nil if the generation has no job or it waits.
local function find_due(generation)
  local queue, id = string.match(redis.call('HGET', KEYS[2], 'j ' .. generation) or '', '^(%S+) (%S+)$')
  return queue and due_stream(queue), id
end

-- Returns for how long the worker that holds an entry has not renewed it (ms), and the worker and the
-- number of deliveries; nil when no worker holds it.
local function find_lease(stream, group, id)
  local held = redis.pcall('XPENDING', stream, group, id, id, 1)
  if held[1] and held[1][3] then
    return held[1][3], held[1][2], held[1][4]
  end
end

-- Makes the waiting jobs due whose user and upstream have capacity.
local function dispatch()
  local skipped, examined = 0, 0
  while examined < MAX_EXAMINED do
    local page = redis.call('ZRANGE', KEYS[1], skipped, skipped + 49, 'WITHSCORES')
    if #page == 0 then
      return
    end
    for n = 1, #page, 2 do
      local queue, upstream, user, generation, topic = parse(page[n])
      local counts = redis.call('HMGET', KEYS[2], 'r ' .. user, 'c', 'R ' .. upstream, 'C ' .. upstream)
      local user_full = tonumber(counts[1] or 0) >= tonumber(counts[2] or 1)
      local upstream_full = counts[4] and tonumber(counts[3] or 0) >= tonumber(counts[4])
      if user_full or upstream_full then
        skipped = skipped + 1
      else
        redis.call('ZREM', KEYS[1], page[n])
        local fields = {'generation', generation, 'user', user, 'upstream', upstream}
        if topic ~= '' then
          fields[7], fields[8] = 'topic', topic
        end
        local id = redis.call('XADD', due_stream(queue), '*', unpack(fields))
        redis.call('HSET', KEYS[2], 'j ' .. generation, queue .. ' ' .. id)
        count_not_waiting(user, upstream)
        count('r ' .. user, 1)
        count('R ' .. upstream, 1)
        redis.call('HSET', KEYS[2], 'turn', page[n + 1])
      end
    end
    examined = examined + #page / 2
  end
end
