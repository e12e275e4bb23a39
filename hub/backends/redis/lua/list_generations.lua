-- Lists generations of a user, newest first, and forgets those whose record has expired.
-- KEYS  1 generations of the user  2 a record of the same partition
-- ARGV  1 run id  2 '1' for those of one chat  3 the chat  4 a status, or ''
--       5 id of the generation before which the list begins, or ''  6 max generations
-- Reply for each generation {id, status, attempt, deltas, time of the request, summary, end or ''}
local prefix, reply, expired, first = record_prefix(KEYS[2]), {}, {}, 0
local limit, is_before = tonumber(ARGV[6]), ARGV[5] == ''

local function add(id)
  local record = redis.call('HMGET', prefix .. id, 'status', 'attempt', 'deltas', 'requested_at', 'summary', 'end', 'chat')
  if not record[1] then
    expired[#expired + 1] = id
  elseif (ARGV[2] == '' or record[7] == ARGV[3]) and (ARGV[4] == '' or record[1] == ARGV[4]) then
    reply[#reply + 1] = {id, record[1], record[2], record[3], record[4], record[5] or '{}', record[6] or ''}
  end
end

while #reply < limit do
  local ids = redis.call('ZRANGE', KEYS[1], first, first + 99, 'REV')
  for _, id in ipairs(ids) do
    if is_before and #reply < limit then
      add(id)
    end
    is_before = is_before or id == ARGV[5]
  end
  if #ids < 100 then
    break
  end
  first = first + 100
end
if #expired > 0 then
  redis.call('ZREM', KEYS[1], unpack(expired))
end
return reply
