-- Functions that the scripts share. It is inserted where a script names this file.

-- Constants of the format: how long an unfinished record is kept (ms), and the largest token.
local HOLD, MAX_TOKEN = 604800000, 9007199254740991

-- The end of retention in ms since 1970; nil if it is damaged.
local function end_of(record)
  local guard, expires = struct.unpack('>I2I6', record, 40)
  if expires % 65521 == guard then return expires end
end

-- The same record with another end. Numbers of this size are exact, also under `%`.
local function with_end(record, expires)
  return string.sub(record, 1, 39) .. struct.pack('>I2I6', expires % 65521, expires) .. string.sub(record, 48)
end

-- Whether the bytes are UTF-8.
local function is_text(bytes)
  local foreign = '[\128-\255]'
  if not string.find(bytes, foreign) then return true end
  for _, character in ipairs({
    '[\194-\223]', '\224[\160-\191]', '[\225-\236\238\239][\128-\191]', '\237[\128-\159]',
    '\240[\144-\191][\128-\191]', '[\241-\243][\128-\191][\128-\191]', '\244[\128-\143][\128-\191]',
  }) do
    bytes = string.gsub(bytes, character .. '[\128-\191]', ' ')
  end
  return not string.find(bytes, foreign)
end

-- The state's letter, if this version wrote the record; otherwise nil, and it is left as it is.
local function state_of(record)
  if string.byte(record, 1) ~= 2 or #record < 64 then return nil end
  local token, _, flags = struct.unpack('>I8I4B', record, 19)
  local kind = math.floor(flags / 4) % 4
  if token > MAX_TOKEN or flags >= 32 or kind == 3 or not end_of(record) then return nil end
  local state, owner = string.sub(record, 2, 2), string.byte(record, 64)
  -- A fingerprint and a trace follow if the flags say so.
  local length = 64 + (math.floor(flags / 2) % 2 + math.floor(flags / 16) % 2) * 16
  if state == 'D' then return owner == 0 and #record >= length and state or nil end
  if kind ~= 0 or #record ~= length + owner or string.sub(record, 56, 63) ~= string.rep('\0', 8)
    or not is_text(string.sub(record, length + 1)) then return nil end
  if state == 'F' and owner == 0 or (state == 'R' or state == 'L') and owner <= 64 then return state end
end

-- Whether a record in this state is past its end: then only late messages and the next claim meet it.
-- One whose end was never set has none: better kept than run again.
local function has_ended(record, state, now)
  if state ~= 'D' and state ~= 'F' then return false end
  local expires = end_of(record)
  return expires ~= 0 and math.floor(now / 1000) >= expires
end

-- What is left of a running owner's lease, in ms; 0 for any other state.
local function lease_left(record)
  if state_of(record) ~= 'R' then return 0 end
  local left = redis.call('PTTL', KEYS[1])
  local age = left < 0 and 0 or math.max(HOLD - left, 0)
  return math.max(struct.unpack('>I4', record, 27) - age, 0)
end

-- µs since 1970.
local function time()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end
