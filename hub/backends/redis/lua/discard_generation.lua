-- Deletes a generation that did not get into the queue, and its idempotency key. The newest
-- generation of the chat is the previous one again, which may still run.
-- KEYS  1 record  2 parts  3 open generations  optionally  4 key of the idempotency key
--       5 newest generation of the chat
-- ARGV  1 run id  2 id of the generation  3 '1' when there is an idempotency key
--       4 '1' when there is a chat
local record = redis.call('HMGET', KEYS[1], 'status', 'attempt')
if record[1] ~= 'queued' or record[2] ~= '0' then -- it may be queued again after a suspension
  return ''
end
local chat = ARGV[4] == '1' and KEYS[#KEYS]
if chat and redis.call('GET', chat) == ARGV[2] then
  local before = redis.call('HGET', KEYS[1], 'before')
  if before then
    redis.call('SET', chat, before, 'KEEPTTL')
  else
    redis.call('DEL', chat)
  end
end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('ZREM', KEYS[3], ARGV[2])
if ARGV[3] == '1' then
  redis.call('DEL', KEYS[4])
end
return ''
