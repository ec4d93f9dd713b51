-- KEYS[1]: the window, a hash from a slice's number to what was granted in it. ARGV: quota,
-- window (ms), slice (ms), want. As cache/window.rs.
local quota, window, slice, want =
  tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stored = redis.call('HGETALL', KEYS[1])
local total, last, slices, over = 0, -1, {}, {}
for i = 1, #stored, 2 do
  local number, count = tonumber(stored[i]), tonumber(stored[i + 1])
  if (number + 1) * slice + window <= now then
    over[#over + 1] = stored[i]
  else
    total = total + count
    slices[#slices + 1] = {number, count}
    if number > last then last = number end
  end
end
if #over > 0 then
  redis.call('HDEL', KEYS[1], unpack(over))
end
local free = math.max(quota - total, 0)
local granted = math.min(want, free)
if granted > 0 then
  local current = math.max(math.floor(now / slice), last)
  redis.call('HINCRBY', KEYS[1], string.format('%d', current), granted)
  redis.call('PEXPIRE', KEYS[1], window + 2 * slice)
  local known = false
  for _, one in ipairs(slices) do
    if one[1] == current then
      one[2] = one[2] + granted
      known = true
    end
  end
  if not known then slices[#slices + 1] = {current, granted} end
  total = total + granted
  last = current
end
local missing = want - granted
local retry = 0
if missing > 0 then
  missing = missing + math.max(total - quota, 0)
  table.sort(slices, function(a, b) return a[1] < b[1] end)
  for _, one in ipairs(slices) do
    if missing <= 0 then break end
    retry = (one[1] + 1) * slice + window - now
    missing = missing - one[2]
  end
end
local reset = 0
if last >= 0 then reset = (last + 1) * slice + window - now end
return {granted, free - granted, retry, reset}
