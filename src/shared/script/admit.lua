-- One admission, all or nothing.
-- KEYS: the leases of the credential, its probe, then each limit's.
-- ARGV: id, tokens, most at one time, milliseconds of a lease, milliseconds of a probe (0: it is none), then for each
-- limit its ruler (grain, count, end), its requests and its tokens. -1 is no limit.
-- Returns {1, second, ms}, or {0, number of the limit, which, amount, milliseconds to wait}; which: 1 requests, 2 tokens,
-- 3 at one time, 4 probe.
local id, tokens, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local probe = tonumber(ARGV[5])

local function fits(used, amount, limit)
  return limit < 0 or used == 0 or used + amount <= limit
end

local function wait(ruler, fields, kind, used, amount, limit)
  if ruler.grain == 0 then return math.max(ruler.ends * 1000 - ms, 1000) end
  local slots = {}
  for i = 1, #fields, 2 do
    local number = tonumber(string.sub(fields[i], 2))
    if string.sub(fields[i], 1, 1) == kind and counts(ruler, number) then
      slots[#slots + 1] = {number, tonumber(fields[i + 1])}
    end
  end
  table.sort(slots, function(a, b) return a[1] < b[1] end)
  for _, slot in ipairs(slots) do
    used = used - slot[2]
    if fits(used, amount, limit) then return (slot[1] + ruler.count) * ruler.grain * 1000 - ms end
  end
  return 1000
end

if most >= 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ms)
  if redis.call('ZCARD', KEYS[1]) >= most then return {0, 0, 3, most, 1000} end
end
for i = 3, #KEYS do
  local at = 6 + (i - 3) * 5
  local ruler, rpm, tpm = ruler(at), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local used, fields = window(KEYS[i], ruler)
  if not fits(used.r, 1, rpm) then return {0, i - 2, 1, rpm, wait(ruler, fields, 'r', used.r, 1, rpm)} end
  if not fits(used.t, tokens, tpm) then
    return {0, i - 2, 2, tpm, wait(ruler, fields, 't', used.t, tokens, tpm)}
  end
end
if probe > 0 and not redis.call('SET', KEYS[2], id, 'NX', 'PX', probe) then return {0, 0, 4, 0, 1000} end
if most >= 0 then
  redis.call('ZADD', KEYS[1], ms + tonumber(ARGV[4]), id)
  redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[4]) * 2)
end
for i = 3, #KEYS do charge(KEYS[i], ruler(6 + (i - 3) * 5), now, 1, tokens) end
return {1, now, ms}
