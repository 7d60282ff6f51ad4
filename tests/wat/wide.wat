;; A component whose strings are UTF-16, which the host has to recode in both directions. Its configuration is
;; `{"attack":"…"}`, of which the first letter counts:
;;
;;   f  fine: a request of `/wide` logs `Grüße 😀`
;;   l  logs half of a surrogate pair
;;   o  logs a string at an odd address
;;   b  logs a string that goes beyond the memory
;;   e  refuses its configuration with `Grüße 😀`
;;   x  refuses it with half of a surrogate pair
;;
;; A request is never answered: its handler returns and keeps what it should answer with.
(component
  (import "wasi:logging/logging@0.1.0-draft" (instance $logging
    (type $levels (enum "trace" "debug" "info" "warn" "error" "critical"))
    (export "level" (type $level (eq $levels)))
    (export "log" (func (param "level" $level) (param "context" string) (param "message" string)))))
  (import "wasi:http/types@0.2.0" (instance $http
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type (sub resource)))))
  (alias export $http "incoming-request" (type $request))
  (alias export $http "response-outparam" (type $out))

  (core module $libc
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 4096))
    ;; Gives new space each time, and what is there when it shrinks.
    (func (export "realloc") (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
      (local $at i32)
      (if (i32.and (i32.ne (local.get $old) (i32.const 0)) (i32.ge_u (local.get $old-size) (local.get $size)))
        (then (return (local.get $old))))
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get $at) (local.get $size)))
      (memory.copy (local.get $at) (local.get $old) (local.get $old-size))
      (local.get $at)))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (alias core export $libc "realloc" (core func $realloc))
  (core func $log (canon lower (func $logging "log") (memory $memory) string-encoding=utf16))

  (core module $main
    (import "libc" "memory" (memory 1))
    (import "host" "log" (func $log (param i32 i32 i32 i32 i32)))
    (global $attack (mut i32) (i32.const 0))
    ;; 256: ok, one route at 280.
    (data (i32.const 256) "\00\00\00\00\18\01\00\00\01\00\00\00")
    ;; 280: method GET, path /wide, kind http.
    (data (i32.const 280) "\01\00\00\00\00\02\00\00\03\00\00\00\10\02\00\00\05\00\00\00\01\00\00\00")
    ;; 320: ok. 340: an error, the greeting. 360: an error, half of a pair.
    (data (i32.const 340) "\01\00\00\00\40\02\00\00\08\00\00\00")
    (data (i32.const 360) "\01\00\00\00\60\02\00\00\01\00\00\00")
    (data (i32.const 512) "G\00E\00T\00")
    (data (i32.const 528) "/\00w\00i\00d\00e\00")
    (data (i32.const 576) "G\00r\00\fc\00\df\00e\00 \00\3d\d8\00\de")
    (data (i32.const 608) "\3d\d8")

    (func (export "configure") (param $config i32) (param $length i32) (result i32)
      (if (i32.gt_u (local.get $length) (i32.const 11))
        (then (global.set $attack (i32.load16_u offset=22 (local.get $config)))))
      (if (i32.eq (global.get $attack) (i32.const 101)) (then (return (i32.const 340)))) ;; e
      (if (i32.eq (global.get $attack) (i32.const 120)) (then (return (i32.const 360)))) ;; x
      (i32.const 256))
    (func (export "self-test") (result i32) (i32.const 320))
    (func (export "shutdown"))

    (func $say (param $at i32) (param $length i32)
      (call $log (i32.const 2) (i32.const 512) (i32.const 3) (local.get $at) (local.get $length)))
    (func (export "handle") (param i32 i32)
      (if (i32.eq (global.get $attack) (i32.const 102)) (then (call $say (i32.const 576) (i32.const 8)))) ;; f
      (if (i32.eq (global.get $attack) (i32.const 108)) (then (call $say (i32.const 608) (i32.const 1)))) ;; l
      (if (i32.eq (global.get $attack) (i32.const 111)) (then (call $say (i32.const 577) (i32.const 2)))) ;; o
      (if (i32.eq (global.get $attack) (i32.const 98)) (then (call $say (i32.const 576) (i32.const 2000000000)))))) ;; b
  (core instance $main (instantiate $main
    (with "libc" (instance $libc))
    (with "host" (instance (export "log" (func $log))))))

  (type $kind (enum "dialect" "http"))
  (type $route (record (field "method" (option string)) (field "path" string) (field "kind" $kind)))
  (type $registration (record (field "routes" (list $route))))
  (func $configure (param "config" string) (result (result $registration (error string)))
    (canon lift (core func $main "configure") (memory $memory) (realloc $realloc) string-encoding=utf16))
  (func $self-test (result (result (error string)))
    (canon lift (core func $main "self-test") (memory $memory) (realloc $realloc) string-encoding=utf16))
  (func $shutdown (canon lift (core func $main "shutdown")))
  (func $handle (param "request" (own $request)) (param "response-out" (own $out))
    (canon lift (core func $main "handle")))

  ;; Only types with names may stand in exports; this gives them their names.
  (component $named
    (type $kind (enum "dialect" "http"))
    (import "kind" (type $kind-in (eq $kind)))
    (type $route (record (field "method" (option string)) (field "path" string) (field "kind" $kind-in)))
    (import "route" (type $route-in (eq $route)))
    (type $registration (record (field "routes" (list $route-in))))
    (import "registration" (type $registration-in (eq $registration)))
    (import "configure" (func $configure (param "config" string) (result (result $registration-in (error string)))))
    (import "self-test" (func $self-test (result (result (error string)))))
    (import "shutdown" (func $shutdown))
    (export $kind-out "route-kind" (type $kind))
    (type $route' (record (field "method" (option string)) (field "path" string) (field "kind" $kind-out)))
    (export $route-out "route" (type $route'))
    (type $registration' (record (field "routes" (list $route-out))))
    (export $registration-out "registration" (type $registration'))
    (export "configure" (func $configure) (func (param "config" string) (result (result $registration-out (error string)))))
    (export "self-test" (func $self-test) (func (result (result (error string)))))
    (export "shutdown" (func $shutdown) (func)))
  (instance $lifecycle (instantiate $named
    (with "kind" (type $kind))
    (with "route" (type $route))
    (with "registration" (type $registration))
    (with "configure" (func $configure))
    (with "self-test" (func $self-test))
    (with "shutdown" (func $shutdown))))
  (export "wasmgate:extension/lifecycle@0.1.0" (instance $lifecycle))

  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))
