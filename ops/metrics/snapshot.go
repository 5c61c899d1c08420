package metrics

import "github.com/prometheus/client_golang/prometheus"

// figure is one number of what a component tells of itself.
type figure[T any] struct {
	name, help string // the name without "quorumail_" and the component's
	kind       prometheus.ValueType
	of         func(T) float64
}

// snapshot shows what a component tells of itself, asked for once at each scrape. When get fails, the scrape shows the error in the figures'
// place.
type snapshot[T any] struct {
	get     func() (T, error)
	figures []figure[T]
	descs   []*prometheus.Desc // of figures
}

// add adds figures, each named quorumail_<component>_<name>.
func (s *snapshot[T]) add(component string, figures []figure[T]) {
	for _, f := range figures {
		s.figures = append(s.figures, f)
		s.descs = append(s.descs, prometheus.NewDesc(prometheus.BuildFQName("quorumail", component, f.name), f.help, nil, nil))
	}
}

// Describe implements prometheus.Collector.
func (s *snapshot[T]) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range s.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *snapshot[T]) Collect(ch chan<- prometheus.Metric) {
	v, err := s.get()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(s.descs[0], err)
		return
	}
	for i, f := range s.figures {
		ch <- prometheus.MustNewConstMetric(s.descs[i], f.kind, f.of(v))
	}
}
