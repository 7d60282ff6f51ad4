;; It imports what its manifest does not ask for.
(component
  (@custom "wasmgate:manifest" "{\"name\":\"fuzz\",\"version\":\"0.1.0\",\"description\":\"d\",\"capabilities\":[]}")
  (import "wasi:config/store@0.2.0-rc.1" (instance $store
    (type $e (variant (case "upstream" string) (case "io" string)))
    (export "error" (type $x (eq $e)))
    (export "get" (func (param "key" string) (result (result (option string) (error $x)))))
  ))
)
