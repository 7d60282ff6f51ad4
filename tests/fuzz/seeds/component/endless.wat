;; Its module runs forever when it is instantiated.
(component
  (core module $m
    (func $start (loop $again br $again))
    (start $start)
    (func (export "run"))
  )
  (core instance $i (instantiate $m))
  (func $run (canon lift (core func $i "run")))
  (component $hook (import "run" (func $f)) (export "handle" (func $f)))
  (instance $handler (instantiate $hook (with "run" (func $run))))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler))
)
