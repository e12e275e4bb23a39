-- Forgets a generation that was never queued, and the key that it was asked with.
-- KEYS  1 record  2 text  3 idempotency key's memory, if any      ARGV  1 run
if redis.call('HGET', KEYS[1], 'status') == 'queued' then
  redis.call('DEL', unpack(KEYS))
end
return ''
