;; A `wasi:http` handler that lets a table grow without end. No compiler emits that.
(component
  (import "wasi:http/types@0.2.0" (instance $http
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type (sub resource)))))
  (alias export $http "incoming-request" (type $request))
  (alias export $http "response-outparam" (type $out))

  (core module $bomb
    (table $table 1 funcref)
    (func (export "handle") (param i32 i32)
      (loop $again
        (drop (table.grow $table (ref.null func) (i32.const 1000)))
        (br $again))))
  (core instance $made (instantiate $bomb))

  (func $handle (param "request" (own $request)) (param "response-out" (own $out))
    (canon lift (core func $made "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))
