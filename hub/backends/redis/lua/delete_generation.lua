-- Deletes the record of a generation that has ended, with its idempotency keys and its places in lists.
-- The newest generation of its chat is the previous one again.
-- KEYS  1 record  2 parts  3 open generations of the partition
-- ARGV  1 run id  2 '1' to delete also one that has not ended
-- Reply 1, or 0 when the generation has not ended
local record = redis.call('HMGET', KEYS[1], 'status', 'beside', 'before')
local id, prefix = string.match(KEYS[1], '[^:]+$'), record_prefix(KEYS[1])
if ARGV[2] ~= '1' and not has_ended(record[1]) then
  return 0
end
for key in string.gmatch(record[2] or '', '[^\n]+') do
  local kind = string.match(key, '^[^}]*}:([^:]+):')
  if kind == 'generations' or kind == 'chat_open' then
    redis.call('ZREM', key, id)
  elseif kind == 'chat' and redis.call('GET', key) == id then
    if record[3] and redis.call('HGET', prefix .. record[3], 'status') then
      redis.call('SET', key, record[3], 'KEEPTTL')
    else
      redis.call('DEL', key)
    end
  elseif kind == 'generation_key' then
    local value = redis.call('GET', key)
    if value and string.sub(value, 1, #id + 1) == id .. ' ' then
      redis.call('DEL', key)
    end
  end
end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('ZREM', KEYS[3], id)
return 1
