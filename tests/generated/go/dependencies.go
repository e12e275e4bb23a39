// Package generated names the modules that generated clients import, so that go.sum has them.
package generated

import _ "github.com/oapi-codegen/runtime"
