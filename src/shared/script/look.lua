-- What is used of limits now. KEYS: as in `admit.lua`. ARGV: the ruler of each limit.
-- Returns requests and tokens, limit by limit.
local told = {}
for i = 3, #KEYS do
  local used = window(KEYS[i], ruler((i - 3) * 3 + 1))
  told[#told + 1], told[#told + 2] = used.r, used.t
end
return told
