-- Forgets a generation that was never queued, and the key that it was asked with. Its chat has the
-- one before again, which may still run.
-- KEYS  1 record  2 text  and, or not,  3 idempotency key's memory  4 the chat's newest generation
-- ARGV  1 run  2 generation's id  3 '1' when there is an idempotency key  4 '1' when there is a chat
if redis.call('HGET', KEYS[1], 'status') ~= 'queued' then
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
if ARGV[3] == '1' then
  redis.call('DEL', KEYS[3])
end
return ''
