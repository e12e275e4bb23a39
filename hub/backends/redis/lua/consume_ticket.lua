-- Consumes a ticket. From the first use on it lives as long as the token behind it.
-- KEYS  1 ticket, a hash: d data (JSON), u '1' once it was used, e when its token expires (ms, by the
--       clock of this server)
-- ARGV  1 run id
-- Reply {data, 1 if it was used before, ms until its token expires}, or {} when there is no such
--        ticket
local fields = redis.call('HMGET', KEYS[1], 'd', 'u', 'e')
local data, used_before, token_expires_ms = fields[1], fields[2], fields[3]
if not data then
  return {}
end
if not used_before then
  redis.call('HSET', KEYS[1], 'u', '1')
  redis.call('PEXPIREAT', KEYS[1], token_expires_ms)
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
return {data, used_before and 1 or 0, token_expires_ms - now}
