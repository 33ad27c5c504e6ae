local os = require("os")
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["hearth.banjonet.com/wake"] = os.date("!%Y-%m-%dT%H:%M:%SZ")
return obj
