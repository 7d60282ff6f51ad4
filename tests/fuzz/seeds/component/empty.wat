;; Nothing but a manifest: there is no hook to call.
(component
  (@custom "wasmgate:manifest" "{\"name\":\"fuzz\",\"version\":\"0.1.0\",\"description\":\"d\"}")
)
