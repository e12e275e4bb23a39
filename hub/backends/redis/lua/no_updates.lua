-- A part of publish.lua, for calls whose events update no generation and have no deliveries: see
-- update_generation.lua and deliveries.lua.
local update_generation, count_received, add_delivery
