;; A component of a contract that does not exist yet: its hook is one of version 1.0.0.
(component
  (core module $main (func (export "f")))
  (core instance $i (instantiate $main))
  (func $f (canon lift (core func $i "f")))
  (instance $hook (export "before-generate" (func $f)))
  (export "wasmgate:extension/before-generate@1.0.0" (instance $hook)))
