;; A hook with another shape than the contract's, and code behind it.
(component
  (core module $m
    (memory (export "memory") 1)
    (table 4 funcref)
    (global (mut i32) (i32.const 0))
    (data (i32.const 8) "text")
    (func (export "run") (param i32) (result i32) local.get 0 i32.const 1 i32.add)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 64)
  )
  (core instance $i (instantiate $m))
  (type $run (func (param "a" u32) (result u32)))
  (func $run (type $run) (canon lift (core func $i "run")))
  (instance $hook (export "call" (func $run)))
  (export "wasmgate:extension/on-complete@0.1.0" (instance $hook))
)
