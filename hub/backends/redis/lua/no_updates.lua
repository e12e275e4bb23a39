-- A part of publish.lua, for calls whose events update no generation: see update_generation.lua.
local update_generation, count_received
