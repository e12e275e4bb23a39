-- Reads the states of the nodes, also of nodes that may have died.
-- KEYS  1 states (see put_node_state.lua)
-- ARGV  1 run id
-- Reply {state, age in seconds, state, age ...}
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local reply = {}
for _, entry in ipairs(redis.call('HVALS', KEYS[1])) do
  local at, state = string.match(entry, '^(%S+) (.*)$')
  reply[#reply + 1] = state
  reply[#reply + 1] = string.format('%.6f', now - at)
end
return reply
