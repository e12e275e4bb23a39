-- Reads all endpoints and the states of those that fail.
-- KEYS  1 endpoints, a hash: JSON by id  2 the beginning of the keys of states
-- ARGV  1 run id  2 the longest pause in ms; then ids that are not in the hash
-- Reply {endpoints: JSON, states: {id, failures, ms since the first one, ms of the pause, error}}
local now, endpoints, states = now_ms(), redis.call('HGETALL', KEYS[1]), {}
local ids, bodies = {}, {}
for n = 1, #endpoints, 2 do
  ids[#ids + 1] = endpoints[n]
  bodies[#bodies + 1] = endpoints[n + 1]
end
for n = 3, #ARGV do
  ids[#ids + 1] = ARGV[n]
end
for _, id in ipairs(ids) do
  local state = redis.call('HMGET', KEYS[2] .. id, 'failures', 'since', 'paused_until', 'error')
  if state[1] then
    local pause = math.min(math.max(0, tonumber(state[3] or 0) - now), tonumber(ARGV[2]))
    states[#states + 1] = {id, tonumber(state[1]), math.max(0, now - tonumber(state[2])), pause, state[4] or ''}
  end
end
return {bodies, states}
