-- Takes from a window that slides. ../window.rs says the same in Rust.
-- KEYS: the window. ARGV: quota, width of a slice in milliseconds, slices that span the window,
-- what is wanted, '1' if a part of it will do.
-- Answers {granted, remaining, retry after, reset}, the times in milliseconds.
local quota, width, span = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local want, partial = tonumber(ARGV[4]), ARGV[5] == '1'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local current = math.floor(now / width)

-- A slice that is to come is one of before the clock was set back.
local first, last = current - span, current + span
local used, newest, gone = 0, nil, {}
local fields = redis.call('HGETALL', KEYS[1])
for n = 1, #fields, 2 do
  local slice = tonumber(fields[n])
  if first <= slice and slice <= last then
    used = used + fields[n + 1]
    if not newest or slice > newest then
      newest = slice
    end
  else
    gone[#gone + 1] = fields[n]
  end
end
if #gone > 0 then
  redis.call('HDEL', KEYS[1], unpack(gone))
end

local left = math.max(quota - used, 0)
local granted = want
if want > left then
  granted = partial and left or 0
end

local function leaves(slice)
  return (slice + 1 + span) * width - now
end

if granted > 0 then
  newest = math.max(newest or current, current)
  redis.call('HINCRBY', KEYS[1], string.format('%.0f', current), granted)
  redis.call('PEXPIRE', KEYS[1], leaves(newest))
end

local retry = 0
if granted < want then
  retry = span * width
  local allowed = quota - (partial and 1 or want)
  if allowed >= 0 then
    -- Oldest first. A part that was granted fills the window, and leaves with its slice.
    local kept, rest = {{current, granted}}, used + granted
    for n = 1, #fields, 2 do
      local slice = tonumber(fields[n])
      if first <= slice and slice <= last then
        kept[#kept + 1] = {slice, tonumber(fields[n + 1])}
      end
    end
    table.sort(kept, function(a, b) return a[1] < b[1] end)
    for _, one in ipairs(kept) do
      rest = rest - one[2]
      -- A slice of which nothing was taken doesn't leave.
      if one[2] > 0 and rest <= allowed then
        retry = leaves(one[1])
        break
      end
    end
  end
end
return {granted, left - granted, retry, newest and leaves(newest) or 0}
