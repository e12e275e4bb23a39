-- Records what became of a delivery that was taken (deliveries.lua).
-- KEYS  1 `due`
-- ARGV  1 run id  2 limits  3 id  4 takes  5 done, retry, postpone or dead  6 delay in ms  7 error
-- Reply 0 if the lease was lost; 2 if another delivery of the lane is due; else 1
local keys, limits, id, action = delivery_keys(KEYS[1]), parse_limits(ARGV[2]), ARGV[3], ARGV[5]
local now = now_ms()
local item = redis.call('HMGET', keys.item .. id, 'lane', 'bytes', 'takes', 'dead')
if item[3] ~= ARGV[4] or item[4] then
  return 0
end
local lane = item[1]
if ARGV[7] ~= '' then
  redis.call('HINCRBY', keys.item .. id, 'failures', 1)
  add_error(keys, id, now, ARGV[7])
end
local _, is_next_due
if action == 'done' then
  _, is_next_due = cancel_delivery(KEYS[1], id)
elseif action == 'dead' then
  _, is_next_due = remove_waiting(keys, id, now)
  bury(keys, id, item[2], limits, now)
else
  local due_ms = whole(now + tonumber(ARGV[6]))
  redis.call('HSET', keys.item .. id, 'due', due_ms, 'delay', ARGV[6])
  redis.call('HINCRBY', keys.item .. id, 'takes', 1) -- the lease has ended
  is_next_due = schedule_lane(keys, lane, now)
end
return is_next_due and 2 or 1
