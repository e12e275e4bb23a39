-- Shared by the scripts below it: who waits, who runs, whose turn it is. The rules are those of
-- core/fair_queue.py.
-- KEYS  1 waiting, a sorted set: 'queue upstream user generation' by turn
--       2 counts, a hash:
--         turn                  of the job that became due last
--         t <user>              turn of the user's newest waiting job
--         w <user>, W <upstream>  how many wait;  r <user>, R <upstream>  how many run
--         j <generation>        of every job that waits or runs
--         c                     most running of a user;  C <upstream>  of the upstream, if capped
-- The streams of due jobs are named after it: '...:waiting' -> '...:due:<queue>'.
local MOST_LOOKED_AT = 1000

local function count(field, more)
  if redis.call('HINCRBY', KEYS[2], field, more) <= 0 then
    redis.call('HDEL', KEYS[2], field)
    return true
  end
end

local function stream_of(queue)
  return string.gsub(KEYS[1], 'waiting$', 'due:') .. queue
end

local function parse(member)
  return string.match(member, '^(%S+) (%S+) (%S+) (%S+)$')
end

local function no_longer_waits(user, upstream)
  if count('w ' .. user, -1) then
    redis.call('HDEL', KEYS[2], 't ' .. user)
  end
  count('W ' .. upstream, -1)
end

-- Makes the jobs due for which there is room.
local function dispatch()
  local passed, looked = 0, 0
  while looked < MOST_LOOKED_AT do
    local page = redis.call('ZRANGE', KEYS[1], passed, passed + 49, 'WITHSCORES')
    if #page == 0 then
      return
    end
    for n = 1, #page, 2 do
      local queue, upstream, user, generation = parse(page[n])
      local now = redis.call('HMGET', KEYS[2], 'r ' .. user, 'c', 'R ' .. upstream, 'C ' .. upstream)
      local user_full = tonumber(now[1] or 0) >= tonumber(now[2] or 1)
      local upstream_full = now[4] and tonumber(now[3] or 0) >= tonumber(now[4])
      if user_full or upstream_full then
        passed = passed + 1
      else
        redis.call('ZREM', KEYS[1], page[n])
        redis.call('XADD', stream_of(queue), '*', 'generation', generation, 'user', user,
          'upstream', upstream)
        no_longer_waits(user, upstream)
        count('r ' .. user, 1)
        count('R ' .. upstream, 1)
        redis.call('HSET', KEYS[2], 'turn', page[n + 1])
      end
    end
    looked = looked + #page / 2
  end
end
