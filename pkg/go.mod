module github.com/mathmesh/meshd/pkg

go 1.26.0
