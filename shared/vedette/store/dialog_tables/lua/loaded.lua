if epoch < asked then
    return {'absent', '', '', {}}
elseif epoch > asked then
    return {'superseded', '', '', {}}
elseif meta[2] ~= run then
    resume()
end
