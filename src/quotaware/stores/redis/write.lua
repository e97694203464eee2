-- What moved is written, first what frees memory, since a server that is full refuses only the first write of a script

local left, opened, saying, leases = {}, {}, {}, {} -- reservations: ids not open any more, values, plans, lease ends
local last_lease, lease_text
for i = 1, ids do
    local id, was = t[first_id + i], open[i]
    if not was and is_stored[i] then left[#left + 1] = id end
    if type(was) == 'table' then
        local o = #opened
        opened[o + 1], opened[o + 2] = id, pack_open(was)
        saying[o + 1], saying[o + 2] = id, blobs[was[PLAN]]
    end
    if was and lease[i] then
        if lease[i] ~= last_lease then last_lease, lease_text = lease[i], whole(lease[i]) end
        leases[#leases + 1] = lease_text
        leases[#leases + 1] = id
    end
end
send('HDEL', KEYS[OPEN], left)
send('HDEL', KEYS[PLANS], left)
send('ZREM', KEYS[LEASES], left)

for h = 1, homes do
    local keep, key, fields, own = t[keeps_at + h], KEYS[first_home + h], home_fields[h], home_cells[h]
    local values, empty = {}, {}
    for f = 1, keep ~= ROLLING and home_size[h] or 0 do
        local c = own[f]
        if dirty[c] and live[c] then
            local v = #values
            values[v + 1], values[v + 2] = fields[f], pack_fixed(c)
            if keep < 0 and used[c] == 0 and held[c] == 0 then -- there for a claim's sake only
                call('ZADD', KEYS[IDLE], whole(claims[c] and claims[c][3] or now), fields[f])
            end
        elseif dirty[c] and stored[c] then
            empty[#empty + 1] = fields[f]
        end
    end
    send('HDEL', key, empty)
    if #values > 0 then
        if is_new[h] then call('HSET', key, FILLER, FILLING) end
        send('HSET', key, values)
        if is_new[h] then
            call('ZADD', KEYS[WINDOWS], whole(keep), sub(key, #KEYS[META] + 2))
            if keep > 0 then call('PEXPIRE', key, whole(math.max(1, keep - now + HOUR_MS + slack))) end
        end
    end
end
for r, key in ipairs(rolling_keys) do
    local c = rolling_cells[r]
    if dirty[c] and live[c] then
        local youngest = ring[c][#ring[c] - 2]
        local ttl = youngest and youngest + spans[c] - now or CLAIM_MS
        call('SET', key, pack_rolling(c, spans[c]), 'PX', whole(ttl + slack))
    elseif dirty[c] and stored[c] then
        call('DEL', key)
    end
end

send('HSET', KEYS[OPEN], opened)
send('HSET', KEYS[PLANS], saying)
for first = 1, #leases, CHUNK do
    call('ZADD', KEYS[LEASES], 'GT', unpack(leases, first, math.min(#leases, first + CHUNK - 1)))
end

from = first_id
for hour = 1, hours do
    local tombs = {}
    for i = from - first_id + 1, from - first_id + t[hours_at + hour] do
        if has_ended[i] then
            local end_of = ended[i]
            if type(end_of) == 'table' then
                local real = end_of[2]
                end_of = pack('<cBdddd', 'x', end_of[1] and 1 or 0, end_of[4], real[1], real[2], real[3])
                    .. pack_open(end_of[3]) .. end_of[5]
            end
            tombs[#tombs + 1] = t[first_id + i]
            tombs[#tombs + 1] = end_of
        end
    end
    if #tombs > 0 then
        local key, began = KEYS[WRITES + hour], tonumber(sub(tombs[1], 1, 12), 16)
        local is_first = call('EXISTS', key) == 0
        if is_first then call('HSET', key, FILLER, FILLING) end
        send('HSET', key, tombs)
        if is_first then
            local ttl = math.max(0, began - began % HOUR_MS + HOUR_MS - now) + REMEMBER_MS + HOUR_MS
            call('PEXPIRE', key, whole(ttl + slack))
        end
    end
    from = from + t[hours_at + hour]
end

local booked, booked_count = tonumber(meta[6] or -1), tonumber(meta[7] or -1)
for _, row in ipairs(rows) do
    if booked < now then booked, booked_count = now, -1 end
    booked_count = booked_count + 1
    call('XADD', KEYS[RECORDS], format('%.0f-%.0f', booked, booked_count), 'r', row)
end
for _, event in ipairs(events) do
    local name, mark, limit, spent, armed = unpack(event)
    local told = '{"counter":' .. cjson.encode(name) .. ',"mark":' .. cjson.encode(mark)
        .. ',"cap":' .. limit .. ',"used":' .. spent .. '}'
    local id = name .. '|' .. mark .. '|' .. limit .. '|' .. armed
    call('HSETNX', KEYS[EVENTS], id, 'E' .. whole(now) .. ' ' .. told)
end
for node, mark in pairs(stops) do
    call('HSET', KEYS[STOPS], node, mark)
    call('HSET', KEYS[REVS], node, whole(touched[node]))
end
if ops > 0 or epoch ~= '' then
    if epoch == '' then epoch = candidate end
    seq, writes = seq + 1, writes + 1
    call('SET', KEYS[WRITES], whole(writes), 'PX', HOUR_MS)
    call('HSET', KEYS[META], 'epoch', epoch, 'seq', whole(seq), 'now', whole(now), 'rev', whole(rev),
        'booked', whole(booked), 'count', whole(booked_count))
end

-- The answer

local totals, figures, count = {}, {}, 0
for p = 1, asked do                               -- the counters of all lines of the plans that were asked about
    for j = 1, sizes[p] do
        local c = cell_at[cells_at[p] + j]
        local is_there = live[c]
        figures[count + 1], figures[count + 2] = is_there and used[c] or 0, is_there and held[c] or 0
        count = count + 2
        if count == CHUNK then
            totals[#totals + 1] = pack('<' .. string.rep('i8', count), unpack(figures, 1, count))
            count = 0
        end
    end
end
totals[#totals + 1] = count > 0 and pack('<' .. string.rep('i8', count), unpack(figures, 1, count)) or ''
totals = table.concat(totals)
local due, late = {}, call('ZRANGEBYSCORE', KEYS[LEASES], '-inf', whole(now), 'LIMIT', 0, DUE)
if #late > 0 then
    local values = call('HMGET', KEYS[PLANS], unpack(late))
    for d, id in ipairs(late) do
        if values[d] then due[#due + 1] = pack('<II', #id, #values[d]) .. id .. values[d] end
    end
end
overs, stale_deps, due = table.concat(overs), table.concat(stale_deps), table.concat(due)
return pack('<cddddIIIIII', 'k', seq, writes, now, rev, #events, #epoch, ops, #totals, #overs, #stale_deps)
    .. epoch .. table.concat(verdicts) .. totals .. overs .. stale_deps .. due
