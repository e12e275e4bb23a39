-- Lists deliveries (deliveries.lua).
-- KEYS  1 `due`
-- ARGV  1 run id  2 limits  3 dead (newest first), waiting (the first of each lane) or an id  4 limit
-- Reply {order, id, channel, lane, body, dead, added in ms, failures, errors} for each; order: the time
--       in ms by which the list is sorted
local keys, limits, now, ids = delivery_keys(KEYS[1]), parse_limits(ARGV[2]), now_ms(), {}
local last = tonumber(ARGV[4]) - 1
if ARGV[3] == 'dead' then
  drop_expired(keys, now, limits.dead_ms)
  local members = redis.call('ZRANGE', keys.dead, -last - 1, -1, 'WITHSCORES')
  for n = #members - 1, 1, -2 do
    ids[#ids + 1] = {string.match(members[n], ':(.*)$'), members[n + 1]}
  end
elseif ARGV[3] == 'waiting' then
  local lanes = redis.call('ZRANGE', keys.due, 0, last, 'WITHSCORES')
  for n = 1, #lanes, 2 do
    local member = redis.call('ZRANGE', keys.lane .. lanes[n], 0, 0)[1]
    if member then
      ids[#ids + 1] = {string.match(member, ':(.*)$'), lanes[n + 1]}
    end
  end
else
  ids[1] = {ARGV[3], '0'}
end
local reply = {}
for _, each in ipairs(ids) do
  local item = redis.call('HMGET', keys.item .. each[1], 'channel', 'lane', 'body', 'dead', 'added', 'failures', 'errors')
  if item[1] then
    reply[#reply + 1] = {each[2], each[1], item[1], item[2], item[3], item[4] or '', item[5],
      tonumber(item[6]), item[7] or ''}
  end
end
return reply
